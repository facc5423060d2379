#!/usr/bin/env bash
# Trains under SLURM for as long as it takes, in as many jobs as it takes. From the root of the checkout, with .venv active:
#
#   sbatch scripts/slurm.sh --config configs/classifier/imagefolder.yaml --data.root DIR
#   sbatch --job-name large --nodes 2 scripts/slurm.sh --config configs/classifier/imagenet_resnet50.yaml --data.root DIR
#
# Options of sbatch come before the script and beat the lines below; those of `python -m project fit` come after it. The run
# lies in runs/JOB_NAME-JOB_ID, on a disk that all nodes share. Where pieces of your own belong to it (docs/how-to), PROGRAM
# names the file that knows them: PROGRAM=mine.py sbatch scripts/slurm.sh …
#
# Two minutes before the job's time is over SLURM warns this script. The run finishes its batch, writes last.ckpt and ends
# with status 143; the job goes back into the queue under its number, and its next start goes on in the same directory.

#SBATCH --job-name=project
#SBATCH --nodes=1
#SBATCH --gpus-per-node=8
# one process for each GPU
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
# B: the script alone is warned, and knows by that why its run has stopped
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.out

warned=false

program=(-m project)
[[ -n ${PROGRAM-} ]] && program=("$PROGRAM")

srun --kill-on-bad-exit=1 python "${program[@]}" fit \
    --config configs/trainer/ddp.yaml --name "$SLURM_JOB_NAME-$SLURM_JOB_ID" --ckpt_path auto --progress lines "$@" \
    --trainer.num_nodes "$SLURM_NNODES" --trainer.devices "$SLURM_NTASKS_PER_NODE" &
step=$!

trap 'warned=true; kill -TERM "$step"' USR1 # srun hands it on to every process
trap 'kill -TERM "$step"' TERM              # cancelled, or pre-empted: then SLURM itself puts the job back

wait "$step"
while kill -0 "$step" 2> /dev/null; do wait "$step"; done # a signal ends a wait too early
wait "$step"
status=$?

if "$warned" && [[ $status -eq 143 ]]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
