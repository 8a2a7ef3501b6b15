"""影评二分类:用 BERT 微调(从 notebook 导出)。"""
# %% [markdown]
# ## 导入
# %%
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import BertModel, BertTokenizer
from corpus import encoder, reviews
# %%
torch.manual_seed(2024)
数据 = reviews(800, seed=5)
训练集, 测试集 = 数据[:600], 数据[600:]
len(训练集), len(测试集)
# %%
tokenizer = BertTokenizer.from_pretrained(encoder())
class 影评(Dataset):
    def __init__(self, 行): self.行 = 行
    def __len__(self): return len(self.行)
    def __getitem__(self, i):
        文本, 标签 = self.行[i]
        编码 = tokenizer(文本, padding='max_length', max_length=80, truncation=True, return_tensors='pt')  # 补齐到 80
        return 编码['input_ids'].squeeze(0), 标签
# %%
class 模型(nn.Module):
    def __init__(self):
        super().__init__()
        self.bert = BertModel.from_pretrained(encoder())
        self.全连接 = nn.Linear(384, 2)
    def forward(self, 输入):
        return self.全连接(self.bert(input_ids=输入).last_hidden_state[:, 0])  # 取 [CLS]
# %%
网络 = 模型()
优化器 = torch.optim.AdamW(网络.parameters(), lr=5e-5)
损失函数 = nn.CrossEntropyLoss()
训练加载 = DataLoader(训练集 := 影评(训练集), batch_size=16, shuffle=True)
测试加载 = DataLoader(影评(测试集), batch_size=16)
# %%
for 轮 in range(3):
    网络.train()
    总损失 = 0
    for 输入, 标签 in 训练加载:
        优化器.zero_grad()
        损失 = 损失函数(网络(输入), 标签)
        损失.backward()
        优化器.step()
        总损失 += 损失.item()
    print(f'第{轮 + 1}轮 损失 {总损失 / len(训练加载):.4f}')
    网络.eval()
    with torch.no_grad():
        对 = sum((网络(x).argmax(1) == y).sum().item() for x, y in 测试加载)
    print(f'准确率 {对 / 200:.3f}')
