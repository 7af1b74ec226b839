"""Studies: many runs of small models, compared with intervals (`studies/NAME.yaml`)."""
