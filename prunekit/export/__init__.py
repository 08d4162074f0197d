"""Programs written in other systems' formats, each checked against the actor before it is written."""
