"""The grader endpoints: validate one, run one."""
