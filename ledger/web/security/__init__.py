"""Who may ask what, and what every answer is guarded with."""
