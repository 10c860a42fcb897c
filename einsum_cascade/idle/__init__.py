"""What a step does where masks let nothing through."""
