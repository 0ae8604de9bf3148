"""Events: what happens in the game, published by name and key to every workflow that waits for it."""
