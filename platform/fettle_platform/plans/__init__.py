"""What every `auto` of a job would become, before there is a job; stores nothing."""
