"""What reaches outside for the rules: rule files, secrets, stores. Performs effects; decides nothing."""
