# Every image below /input to the organisers' files in /output.
set -eu

# the folder of an export, or the one .pt file
weights=/opt/model
for file in /opt/model/*.pt; do
    [ -e "$file" ] && weights=$file
done

mitoyolo detect /input --weights "$weights" --out /tmp/detections --engine "${ENGINE:-auto}" \
    --device "$DEVICE" --submission "$SUBMISSION" "$@"
cp -r /tmp/detections/submission/. /output/

# MIDOG's container gets one image a run, and looks for its file in /output itself
set -- /output/*/mitotic-figures.json
if [ "$#" = 1 ] && [ -e "$1" ]; then
    folder=$(dirname "$1")
    mv "$1" /output/
    rmdir "$folder"
fi
