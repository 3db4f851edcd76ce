"""The served model: follows the update topic and swaps generations; `run` creates its consumer."""
