"""`fcn-onnx completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from fcn_onnx.cli.console import print_line

NAME, VARIABLE = "fcn-onnx", "_FCN_ONNX_COMPLETE"


@click.command("completion", epilog="Example: fcn-onnx completion bash")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def command(shell: str) -> None:
    """Print what teaches a shell to complete commands, options, and names of networks, targets and the like.

    \b
    bash, in ~/.bashrc:  eval "$(fcn-onnx completion bash)"
    zsh, in ~/.zshrc:    eval "$(fcn-onnx completion zsh)"
    fish, once:          fcn-onnx completion fish > ~/.config/fish/completions/fcn-onnx.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click has all three
    print_line(kind(click.get_current_context().find_root().command, {}, NAME, VARIABLE).source())
