"""How do meta-steps scale over devices and processes?"""
