"""Pure rules: no clock, file, socket, database, environment, randomness or logging in here."""
