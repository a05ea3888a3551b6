"""Who may ask from afar: tokens, browser sessions, login links, and seals that only the ledger's keys can make."""
