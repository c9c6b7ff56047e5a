"""Videos drawn here: little people whose motions only time tells apart."""
