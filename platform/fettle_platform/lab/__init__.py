"""The grader lab: a grader over many answers, before it trains a model. Nothing is stored here."""
