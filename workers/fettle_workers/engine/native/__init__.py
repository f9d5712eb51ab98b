"""The Llama family (Llama, Mistral, Qwen2, Qwen3), computed here: one forward pass for sampler and learner.

architecture.py  which models these are, and their sizes
weights.py       the base's tensors, and the adapter's on top of them
shards.py        the blocks where each process holds a part of them
layers.py        norm, rotation, one block
packing.py       sequences without padding, prompts once
attention.py     packed attention, with its own gradient
network.py       the `Network` made of these
reader.py        the sampler's half: token by token, with keys and values kept
"""
