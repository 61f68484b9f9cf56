"""Which start learns whole alphabets best, 20 characters from 15 drawings each?"""
