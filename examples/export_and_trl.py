"""Train on a language model's embeddings, export one user's reward model, and train a policy on personal rewards.

python examples/export_and_trl.py REWARD_MODEL POLICY      # ids on the hub, or folders; needs `pip install trl`
"""

import sys

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from lorerm import Preferences, RewardFunction, TrainingConfig, TransformersEncoder, embed, train
from lorerm.model.export import build_classifier, save_classifier

reward_model, policy = sys.argv[1:3]
encoder = TransformersEncoder(reward_model)
comparisons = [
    {"user_id": user, "prompt": f"What of {topic}?", "chosen": sides[0], "rejected": sides[1]}
    for topic in ("tea", "rain", "maps", "salt", "wool", "owls")
    for user, sides in (("ann", (f"{topic}!", f"All of {topic}.")), ("bob", (f"All of {topic}.", f"{topic}!")))
]
model = train(embed(Preferences.from_records(comparisons), encoder), TrainingConfig(rank=2))

# An ordinary sequence classifier: the next lines need transformers only.
save_classifier(build_classifier(model, reward_model, "ann"), "ann-reward")
network = AutoModelForSequenceClassification.from_pretrained("ann-reward").eval()
tokenizer = AutoTokenizer.from_pretrained("ann-reward")
chat = [{"role": "user", "content": "What of bees?"}, {"role": "assistant", "content": "bees!"}]
inputs = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
with torch.inference_mode():
    logit = float(network(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits)
reward = float(model.rewards(encoder.encode([tuple(chat)]), "ann"))
print(f"logit {logit:.5f}, model.rewards {reward:.5f}")

# One policy, trained with GRPO: each completion gets the reward of its row's user.
prompts = [{"prompt": f"What of {topic}?", "user_id": user} for topic in ("bees", "boats") for user in ("ann", "bob")]
trainer = GRPOTrainer(
    model=policy,
    reward_funcs=RewardFunction(model, encoder),
    train_dataset=Dataset.from_list(prompts),
    args=GRPOConfig(
        output_dir="policy",
        per_device_train_batch_size=4,
        num_generations=2,
        max_completion_length=8,
        max_steps=2,
        report_to=[],
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
    ),
)
print(trainer.train())
