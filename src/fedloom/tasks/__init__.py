"""Tasks: what is asked. One file a task; its builder function bears the file's name."""
