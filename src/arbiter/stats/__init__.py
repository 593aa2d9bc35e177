"""Small pure statistics: estimators and sequential tests. Numbers in, numbers out.

| question | module |
| --- | --- |
| Is the new model worse, or not worse by a margin, on shared traffic? | `sequential`, `bets` |
| The same for graded scores that vary little | `adaptive` |
| The same for pairs: both answered one prompt | `pairs` |
| Is it slower? Does it fail more often? | `latency`, `reliability` |
| Several tasks: overall, and which of them | `evalues` |
| Do the arms fill as they were drawn? | `arrivals` |
| Has it become worse since it was promoted? | `drift`, `change` |
| By how much, for people to look at | `interval`, `means` |
| Beliefs about a share, for the selector | `estimators` |

All tests may be looked at after every unit, and keep their error rates then.
"""
