"""Actors: stages that run beside one another and pass their results on through bounded registers.

A `graph.Graph` names stages and edges; `threads.Running` runs it in threads, `cluster` has its stages run by
Ray, `simulate.simulate` plays it in virtual time. All three keep one protocol, `network.Network`: a stage
acts when every input has a register and every output a free one, so memory is bounded and a slow stage holds
up those before it. Nothing here knows of rollouts. After OneFlow (arXiv 2110.15032), section 5.
"""
