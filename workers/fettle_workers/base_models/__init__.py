"""The bundled base model `fettle-tiny`: the recipe that trains it, its weights, and the examples that go with it."""
