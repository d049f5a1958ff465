# The tour: of the model that comes with sonde, or of another; every file that it names, and a page.
# sanitizer: each of its commands has a case of its own
sonde demo -o shipped --tokens 2000 >said.txt
tail -n 19 said.txt
grep -c '^\$ sonde .*/models/stories ' said.txt
sonde demo --model no-such-folder
echo "status $?" >&2
sonde demo --model tiny --tokens 2000 -o tour/here >said.txt
SONDE_MODEL=tiny sonde demo -o tour/here --tokens 2000 --json
grep -c '^\$ sonde' said.txt
ls tour/here
python3 -c '
import json
for name in "neurons", "norms", "attention", "tokens", "layers":
    assert open(f"tour/here/{name}.png", "rb").read(6) == b"\x89PNG\r\n"
print(json.load(open("tour/here/stats.json"))["schema"], open("tour/here/story.txt").read()[:16])
page = open("tour/here/index.html").read()
print(page.count("<img"), page.count("<h2"))'
