"""How well do MAML, first-order MAML, Reptile and transfer learning learn new sines, and how fast?"""
