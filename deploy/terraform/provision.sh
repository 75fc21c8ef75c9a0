#!/bin/sh
# provision.sh — makes servers and takes them back by Terraform: a program for drover's --provision-exec (docs/outside.md).
#
# Call it by a link in the folder of your root module: that folder is where Terraform runs. Its variables node_count, retired
# and membership and its output nodes must be those of the module beside this file; the file drover.auto.tfvars.json there is
# written by this program. What the provider needs (credentials, TF_...) stands in provision.env there, as NAME=value lines.
set -eu

cd "$(dirname "$0")"
if [ -e provision.env ]; then
    set -a
    . ./provision.env
    set +a
fi
exec python3 "$(dirname "$(readlink -f "$(basename "$0")")")/provision.py"
