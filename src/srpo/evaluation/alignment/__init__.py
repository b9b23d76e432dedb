"""Is a token credit any good? The alignment of its gradient with the true policy gradient, on a fixed policy."""
