"""Problems and preference data: formats in sources.py, forms of preferences in pairing.py, built-in tasks in tasks/."""
