"""FastReID's tools/train_net.py as a user of fastreid_ext has it; every rank leaves its weights behind."""

import os

import torch


def main(args):
    # No import of fastreid_ext here: a spawned rank has to be healed all the same.
    from fastreid.config import get_cfg
    from fastreid.engine import DefaultTrainer, default_setup
    from fastreid.utils import comm
    from fastreid.utils.checkpoint import Checkpointer

    torch.set_num_threads(1)
    cfg = get_cfg()
    cfg.merge_from_file(args.config_file)
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    if args.eval_only:
        model = DefaultTrainer.build_model(cfg)
        Checkpointer(model).load(cfg.MODEL.WEIGHTS)
        return DefaultTrainer.test(cfg, model)

    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    results = trainer.train()
    model = getattr(trainer.model, "module", trainer.model)
    torch.save(dict(model.named_parameters()), os.path.join(cfg.OUTPUT_DIR, f"rank{comm.get_rank()}.pth"))
    return results


if __name__ == "__main__":
    import fastreid_ext  # noqa: F401  (first: it heals the host)

    # isort: split
    from fastreid.engine import default_argument_parser, launch

    args = default_argument_parser().parse_args()
    launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
