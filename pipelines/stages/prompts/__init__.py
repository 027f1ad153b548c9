"""From words to conditioning: composing, expanding and encoding prompts."""
