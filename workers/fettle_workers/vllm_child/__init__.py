"""A program for another environment: started by path, never imported."""
