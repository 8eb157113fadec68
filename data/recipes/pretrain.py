"""Pretrain Tiny Tale: 10.4M parameters on documents made on the fly.

Every step draws its documents from a generator seeded with the step's number,
so a run that was stopped goes on exactly where it was.  Matrices are trained
with Muon (torch.optim.Muon), embeddings and norms with AdamW; the learning
rate rises, stays, and falls linearly to zero, in each of three stages: the first is
for names, stories and patterns, the second adds instructions, the third is mostly those.

Run it:  python -m data.recipes.pretrain --steps 6800
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from data.recipes.corpus import make_document
from data.recipes.encode import encode
from data.recipes.tokenizer import PIECES

ROOT = Path(__file__).resolve().parents[2]
TOKENS_A_STEP = 4096
STEPS = 6800
STAGES = (0.45, 0.3, 0.25)  # of the steps
ROWS_A_PIECE = 4  # rows whose logits are held at once: they are the largest tensor
SAMPLE_PROMPTS = ("Lily found a magic", "Once", "호기심 많은", "owl -> drum\ncat -> kite\nowl ->")


def build_model() -> LlamaForCausalLM:
    """Make the untrained model: 10 layers, hidden 256, tied embeddings.

    Attention begins "mimetic" (Trockman and Kolter 2023, arXiv 2305.09828): queries
    equal keys and the output matrix is the value matrix transposed, so that every
    head starts by looking for tokens like the one it expects and passing them on.
    Embeddings begin three times as large as usual, so that two names differ from
    the first step.
    """
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=PIECES, hidden_size=256, intermediate_size=768, num_hidden_layers=10,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=3,
    ))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=0.06)
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            for head in torch.arange(256).split(64):
                query, value = (torch.nn.init.orthogonal_(torch.empty(64, 256)) for _ in "qv")
                for matrix in (attention.q_proj, attention.k_proj):
                    matrix.weight[head] = 0.7 * query + 0.01 * torch.randn(64, 256)
                attention.v_proj.weight[head] = 0.4 * value
                attention.o_proj.weight[:, head] = 0.4 * value.T
    return model


def stage_of(step: int, steps: int) -> tuple[int, int, int]:
    """Return the stage of a step (1 to 3), the steps done in it, and those left.

    >>> stage_of(0, 6800), stage_of(3060, 6800), stage_of(6799, 6800)
    ((1, 0, 3060), (2, 0, 2040), (3, 1699, 1))
    """
    begin = 0
    for stage, share in enumerate(STAGES, 1):
        end = steps if stage == len(STAGES) else begin + round(share * steps)
        if step < end:
            break
        begin = end
    return stage, step - begin, end - step


def learning_rate(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: in each stage warm up, stay, fall to 0.

    Later stages rise to 0.7: high enough to learn anew, not to forget.

    >>> [round(learning_rate(step, 6800), 2) for step in (0, 999, 3059, 3060, 3500, 5099, 5160)]
    [0.02, 1.0, 0.0, 0.01, 0.7, 0.0, 0.7]
    """
    stage, done, left = stage_of(step, steps)
    peak, falling = (1.0, 0.4) if stage == 1 else (0.7, 0.6)
    return peak * min((done + 1) / 60, 1.0, left / (falling * (done + left)))


def batch(tokenizer, step: int, steps: int, seed: int) -> torch.Tensor:
    """Make the token ids of one step, shape (rows, length + 1).

    Rows begin with a document and the last document is cut to fit.  Rows of
    320 tokens come first; from three quarters of the first stage on they have 512.
    """
    rng = random.Random(f"{seed}-{step}")
    stage, done, left = stage_of(step, steps)
    length = 320 if stage == 1 and done < 0.75 * (done + left) else 512
    rows = []
    for _ in range(TOKENS_A_STEP // length):
        row: list[int] = []
        while len(row) < length + 1:
            row += encode(tokenizer, make_document(rng, stage=stage))
        rows.append(row[: length + 1])
    return torch.tensor(rows)


def training_texts(tokenizer, steps: int, seed: int = 0) -> Iterator[str]:
    """Yield every text the first ``steps`` steps learned from, to look for copies."""
    for step in range(steps):
        for row in batch(tokenizer, step, steps, seed).tolist():
            for text in tokenizer.decode(row).split("</s>"):
                yield text.replace("<s>", "").strip()


def mean_loss(model, ids: torch.Tensor, autocast, *, backward: bool = False) -> float:
    """Return the mean next-token loss in nats, a few rows of logits at a time.

    With ``backward`` the gradients of the model are filled, too.
    """
    targets = ids[:, 1:]
    count, total = (targets != 3).sum(), 0.0
    with autocast, torch.set_grad_enabled(backward):
        hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    end = hidden.detach().requires_grad_(backward)
    for rows in torch.arange(len(ids)).split(ROWS_A_PIECE):
        with autocast, torch.set_grad_enabled(backward):
            logits = model.lm_head(end[rows])
            loss = torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), targets[rows].flatten(),
                ignore_index=3, reduction="sum") / count
        if backward:
            loss.backward()
        total += loss.item()
    if backward:
        hidden.backward(end.grad)
    return total


def heldout_loss(model, tokenizer, folder: Path, device: str, autocast) -> dict:
    """Return nats a token on the held-out stories, by language."""
    losses = {}
    for language in ("en", "ko"):
        path = ROOT / "data" / "tales" / f"heldout_{language}.jsonl"
        texts = [json.loads(line)["text"] for line in path.read_text("utf-8").splitlines()]
        rows = [torch.tensor(encode(tokenizer, t)) for t in texts[:50]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=3)
        loss = mean_loss(model.eval(), ids[:, :513].to(device), autocast)
        losses[language] = round(loss, 4)
    model.train()
    return losses


def samples(model, tokenizer, device: str) -> str:
    """Return a few short continuations, to read while the model learns."""
    texts = []
    for prompt in SAMPLE_PROMPTS:
        ids = torch.tensor([encode(tokenizer, prompt)[:-1]]).to(device)
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=60,
                             do_sample=True, temperature=0.7, top_p=0.9, pad_token_id=3)
        texts.append(tokenizer.decode(out[0], skip_special_tokens=True))
    return "\n  ".join(texts)


def pretrain(folder: Path, *, run: Path, steps: int, seed: int = 0,
             muon_lr: float = 5e-3, adam_lr: float = 2e-3, save_every: int = 100) -> None:
    """Train until ``steps`` and write float16 safetensors to ``folder``.

    Checkpoints go to ``run`` every ``save_every`` steps; Ctrl-C saves one too,
    and the next call goes on from there.
    """
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    autocast = torch.autocast(device, torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = build_model().to(device)
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is m for m in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=muon_lr, weight_decay=0.01,
                         adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    peaks = [muon_lr, adam_lr]
    run.mkdir(parents=True, exist_ok=True)
    latest, start, log = run / "latest.pt", 0, []
    if latest.exists():
        state = torch.load(latest, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        start, log = state["step"], state["log"]
        print(f"going on from step {start}")

    def save(step: int) -> None:
        state = {"model": model.state_dict(), "step": step, "log": log,
                 "optimizers": [o.state_dict() for o in optimizers]}
        torch.save(state, run / "latest.tmp")
        (run / "latest.tmp").replace(latest)

    step, began = start, time.time()
    bar = tqdm(range(start, steps), initial=start, total=steps, unit="step")
    try:
        for step in bar:
            ids = batch(tokenizer, step, steps, seed).to(device)
            loss = mean_loss(model, ids, autocast, backward=True)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer, peak in zip(optimizers, peaks):
                optimizer.param_groups[0]["lr"] = peak * learning_rate(step, steps)
                optimizer.step()
                optimizer.zero_grad()
            speed = (step + 1 - start) * TOKENS_A_STEP / (time.time() - began)
            bar.set_postfix(loss=f"{loss:.3f}", tokens_a_second=round(speed))
            if (step + 1) % 10 == 0:
                log.append({"step": step + 1, "loss": round(loss, 4)})
            if (step + 1) % save_every == 0:
                save(step + 1)
            if (step + 1) % 200 == 0:
                log[-1]["heldout"] = heldout_loss(model, tokenizer, folder, device, autocast)
                tqdm.write(f"step {step + 1}: {log[-1]}\n  {samples(model, tokenizer, device)}")
    except KeyboardInterrupt:
        print(f"stopped at step {step}; run the same command to go on from the last checkpoint.")
        raise SystemExit(130) from None
    save(steps)
    export(model, folder)
    (run / "log.json").write_text(json.dumps(log, indent=1), encoding="utf-8")


def export(model, folder: Path) -> None:
    """Write float16 safetensors, beside the tokenizer."""
    model = model.half().cpu().eval()
    model.generation_config.pad_token_id = 3
    model.save_pretrained(folder, safe_serialization=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "data/models/tiny-tale")
    parser.add_argument("--run", type=Path, default=ROOT / "runs/pretrain")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--muon-lr", type=float, default=5e-3)
    parser.add_argument("--adam-lr", type=float, default=2e-3)
    args = parser.parse_args()
    pretrain(args.folder, run=args.run, steps=args.steps, muon_lr=args.muon_lr,
             adam_lr=args.adam_lr)


if __name__ == "__main__":
    main()
