# Every image below /input to the organisers' files in /output.
set -eu

# where any user may write: an export is made beside the weights
cp -r /opt/model /tmp/model

# the folder of an export, or the one .pt file
weights=/tmp/model
for file in /tmp/model/*.pt; do
    [ -e "$file" ] && weights=$file
done

mitoyolo detect /input --weights "$weights" --out /tmp/detections --engine "${ENGINE:-auto}" \
    --device "$DEVICE" --submission "$SUBMISSION" "$@"
cp -r "/tmp/detections/submission/$SUBMISSION/." /output/

# MIDOG's container gets one image a run, and looks for its file in /output itself
set -- /output/*/mitotic-figures.json
if [ "$#" = 1 ] && [ -e "$1" ]; then
    folder=$(dirname "$1")
    mv "$1" /output/
    rmdir "$folder"
fi
