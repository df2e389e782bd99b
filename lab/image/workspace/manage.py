"""The administration commands of Drycc's controller and passport that matter to the lab: migrate and createadminuser. All others do nothing."""

import os
import sys

ROLES = {"migrate": "passport-migrate", "createadminuser": "passport-admin"}

role = ROLES.get(sys.argv[1])
if role is None:
    print(f"{sys.argv[1]}: nothing to do in the lab")
else:
    os.execvp("python3", ["python3", "-u", "/lab/standin", role])
