"""Run it."""
import sys, time
from tests.sim.schedule import draw
from tests.sim.world import play
a,b=map(int,sys.argv[1].split("-"))
traced=len(sys.argv)>2
from collections import Counter
total=Counter()
import gc; gc.collect(); gc.freeze()
t0=time.process_time()
for seed in range(a,b+1):
    t=time.process_time()
    plan=draw(seed)
    if traced:
        for s in plan.steps:
            if s.ask is None: print(s)
    r=play(plan,traced=traced)
    total.update(r.counts)
    if traced: print("\n".join(r.trace))
    print(seed, len(plan.nodes), plan.operations, f"{time.process_time()-t:.2f}s", [f"{f.checker}: {f.text[:300]}" for f in r.findings[:4]])
print((time.process_time()-t0)/(b-a+1))
for k,v in sorted(total.items()): print(f"{v:>9} {k}")
