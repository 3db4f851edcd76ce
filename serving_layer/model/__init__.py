"""The model that requests see: the update topic followed, generations swapped."""
