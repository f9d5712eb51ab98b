"""Every architecture that transformers knows, computed by transformers with a LoRA adapter of PEFT on it."""
