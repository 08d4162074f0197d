"""Model cards: what a policy is and what was shown of it, in the form of the Hugging Face hub."""
