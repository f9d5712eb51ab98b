"""Fine-tuning jobs: create, pause, resume, cancel; take in what the workers report; requeue what fell silent."""
