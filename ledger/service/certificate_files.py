"""Write certificates out, each with the proof that the history holds the entry which records it."""
