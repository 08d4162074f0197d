"""Model cards: a description of a policy and its certificate, in the format of the Hugging Face hub."""
