"""Statistics of graders and rewards, pure and with numpy only: what is asked of a grader before it trains a model."""
