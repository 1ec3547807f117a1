"""Evaluates Rego with rego-cpp (regopy), for tests that compare it with the engine of the house.

Reads a list of jobs from the file named: {"modules": {path: text}, "data": {...}, "query": "data.x", "strict": true,
"inputs": [...]}. Writes a list of
lists to the other file named, one result an input: {"value": ...}, {"undefined": true}, {"error": "..."} or {"crash": signal}.
Every job runs in a process of its own, since that engine ends the whole process on some texts.
"""

import json
import os
import sys

from regopy import Interpreter


def evaluated(interpreter, query, value):
    try:
        interpreter.set_input(value)
        output = interpreter.query(f"result = {query}")
        if not output.ok():
            return {"error": str(output)[:300]}
        if str(output).strip() in ("undefined", "{}", ""):
            return {"undefined": True}
        said = json.loads(str(output))
    except Exception as error:
        return {"error": str(error)[:300]}
    rows = said if isinstance(said, list) else [said]
    if not rows or "result" not in rows[0].get("bindings", {}):
        return {"undefined": True}
    return {"value": rows[0]["bindings"]["result"]}


def run(job, first, write):
    """The results from the first input on, each written as soon as it is there."""
    try:
        interpreter = Interpreter()
        interpreter.strict_built_in_errors = job["strict"]
        for path, text in job["modules"].items():
            interpreter.add_module(path, text)
        interpreter.add_data(job["data"])
    except Exception as error:
        for _ in job["inputs"][first:]:
            write({"error": str(error)[:300]})
        return
    for value in job["inputs"][first:]:
        write(evaluated(interpreter, job["query"], value))


def results(job):
    """All results of a job; an input that ends the process is told, and the next process goes on behind it."""
    done = []
    while len(done) < len(job["inputs"]):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            with os.fdopen(writing, "w") as pipe:
                def write(result):
                    pipe.write(json.dumps(result) + "\n")
                    pipe.flush()

                run(job, len(done), write)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            done.extend(json.loads(line) for line in pipe)
        _, status = os.waitpid(child, 0)
        if len(done) < len(job["inputs"]):
            done.append({"crash": os.waitstatus_to_exitcode(status)})
    return done


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        jobs = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([results(job) for job in jobs], file)
