"""Runs code that nobody vouches for: graders that users write, and programs that models write.

`pool.Sandbox` is what callers use. `jail/` holds the files that run inside, on the standard library alone; everything
else is the host's side. `docs/sandbox.md` says what the sandbox withstands and what it does not.
"""
