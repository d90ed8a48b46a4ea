"""Laws that hold for every data type, and specifications over histories."""
