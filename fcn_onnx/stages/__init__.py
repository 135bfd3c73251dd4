"""The stages: one file a command. Options in, typed result out; what is up to date is not made again."""
