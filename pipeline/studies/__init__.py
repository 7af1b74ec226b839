"""Studies: many small training runs, compared with confidence intervals (`studies/NAME.yaml`)."""
