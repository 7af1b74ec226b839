"""Two evaluations side by side: tables, figures, the page."""
