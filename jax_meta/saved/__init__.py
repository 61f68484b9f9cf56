"""Model files: what was meta-learned, with the settings to use it, and the command that does."""
