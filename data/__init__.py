"""The sample, how it was made, and the reading and splitting of tables of labelled texts."""
