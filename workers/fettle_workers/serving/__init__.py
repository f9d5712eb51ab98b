"""An OpenAI-compatible model server on the CPU: the upstream of the gateway where there is no vLLM."""
