"""What runs inside the sandbox. These files are started by path, import only each other and the standard library."""
